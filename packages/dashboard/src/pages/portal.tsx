/** A portal link is opened: its token is exchanged for a session, and taken out of the address. */
import { useNavigate } from '@tanstack/react-router';
import { useEffect, useRef, useState } from 'react';

import { useSignIn } from '../session/session.tsx';
import { ButtonLink, Spinner } from '../ui/button.tsx';
import { ErrorPanel } from '../ui/error-panel.tsx';
import { Mark } from '../ui/mark.tsx';
import { Card, PageHeader } from '../ui/page.tsx';

/** The token of the address's fragment, taken away from it at once: no history entry and no screenshot keeps it. */
function takeToken(): string {
  const token = window.location.hash.slice(1);
  if (token !== '') window.history.replaceState(window.history.state, '', window.location.pathname);
  return token;
}

export default function PortalPage() {
  // In the state, so that React's second render in development finds it again.
  const [token] = useState(takeToken);
  const signIn = useSignIn();
  const navigate = useNavigate();
  const asked = useRef(false);
  useEffect(() => {
    if (token === '' || asked.current) return;
    asked.current = true;
    signIn.mutate({ portal_token: token }, { onSuccess: () => void navigate({ to: '/', replace: true }) });
  }, [token, signIn, navigate]);
  return (
    <main className="mx-auto flex min-h-dvh max-w-md flex-col justify-center px-4 py-10">
      <div className="mb-6 flex items-center gap-2 text-lg font-semibold tracking-tight">
        <Mark className="size-8" /> Posthorn
      </div>
      <Card>
        {token === '' ? (
          <>
            <PageHeader title="This link is incomplete">
              Open it again from the place where you got it, whole, with everything after the #.
            </PageHeader>
            <ButtonLink to="/sign-in">Sign in with an API key</ButtonLink>
          </>
        ) : signIn.isError ? (
          <>
            <PageHeader title="This link doesn’t work any more">
              Links are valid for a short time only. Get a fresh one where you got this one.
            </PageHeader>
            <div className="space-y-4">
              <ErrorPanel error={signIn.error} compact />
              <ButtonLink to="/sign-in">Sign in with an API key</ButtonLink>
            </div>
          </>
        ) : (
          <div role="status" className="flex items-center gap-3">
            <Spinner className="size-4" />
            <h1 className="font-medium">Signing you in…</h1>
          </div>
        )}
      </Card>
    </main>
  );
}
