/** Signing in with a key. */
import { useNavigate, useSearch } from '@tanstack/react-router';
import { type FormEvent, useEffect, useState } from 'react';

import { ThemeMenu } from '../layout/session-menu.tsx';
import { useSessionQuery, useSignIn } from '../session/session.tsx';
import { Button } from '../ui/button.tsx';
import { ErrorPanel } from '../ui/error-panel.tsx';
import { TextField } from '../ui/field.tsx';
import { Mark } from '../ui/mark.tsx';
import { Card, PageHeader } from '../ui/page.tsx';

/** Where to go after signing in: a path of this page, and nothing else that somebody put into the link. */
export function safeNext(next: string | undefined): string {
  if (next === undefined || !next.startsWith('/')) return '/';
  const url = new URL(next, window.location.origin);
  return url.origin === window.location.origin ? `${url.pathname}${url.search}` : '/';
}

export default function SignInPage() {
  const next = safeNext(useSearch({ from: '/sign-in' }).next);
  const session = useSessionQuery();
  const signIn = useSignIn();
  const navigate = useNavigate();
  const [apiKey, setApiKey] = useState('');

  // Signed in already, or just now.
  const isSignedIn = Boolean(session.data);
  useEffect(() => {
    if (isSignedIn) void navigate({ href: next, replace: true });
  }, [isSignedIn, next, navigate]);
  if (isSignedIn) return null;

  const submit = (event: FormEvent) => {
    event.preventDefault();
    signIn.mutate({ api_key: apiKey.trim() });
  };
  return (
    <main className="mx-auto flex min-h-dvh max-w-md flex-col justify-center px-4 py-10">
      <div className="mb-6 flex items-center justify-between">
        <span className="flex items-center gap-2 text-lg font-semibold tracking-tight">
          <Mark className="size-8" /> Posthorn
        </span>
        <ThemeMenu />
      </div>
      <Card>
        <PageHeader title="Sign in">With an operator’s key, or an account’s own.</PageHeader>
        <form onSubmit={submit} className="space-y-4">
          <TextField
            label="API key"
            name="api_key"
            type="password"
            mono
            required
            autoFocus
            autoComplete="current-password"
            placeholder="ph_…"
            value={apiKey}
            onChange={(event) => setApiKey(event.target.value)}
          />
          {signIn.isError && <ErrorPanel error={signIn.error} compact />}
          <Button type="submit" kind="primary" className="w-full" busy={signIn.isPending}>
            Sign in
          </Button>
        </form>
      </Card>
      <div className="text-soft mt-6 space-y-2">
        <p>
          <strong className="text-ink font-medium">You run this service?</strong> The operator key was printed
          at the first start. Make another with{' '}
          <code className="font-mono text-[0.8125rem]">posthorn key create</code> on the server.
        </p>
        <p>
          <strong className="text-ink font-medium">You receive webhooks?</strong> Use the link in the product
          that sends them, or an API key of your account.
        </p>
      </div>
    </main>
  );
}
