/** Who is signed in, and which account they look at. */
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useSearch } from '@tanstack/react-router';
import { createContext, type ReactNode, useContext, useMemo } from 'react';

import { ApiError } from '../api/error.ts';
import { request } from '../api/request.ts';
import type { SessionInfo } from '../api/types.ts';

export const SESSION_KEY = ['session'] as const;
const PATH = '/dashboard/session';

/** The session; null when nobody is signed in. Other failures reject. */
export async function fetchSession(signal?: AbortSignal): Promise<SessionInfo | null> {
  try {
    return await request<SessionInfo>('GET', PATH, signal === undefined ? {} : { signal });
  } catch (error) {
    if (error instanceof ApiError && error.isUnauthorized) return null;
    throw error;
  }
}

/** @param enabled - false where nobody can be signed in yet, as while a portal link is exchanged */
export function useSessionQuery(enabled = true) {
  return useQuery<SessionInfo | null, ApiError>({
    queryKey: SESSION_KEY,
    queryFn: ({ signal }) => fetchSession(signal),
    staleTime: 60_000,
    enabled,
  });
}

export type SignIn = { api_key: string } | { portal_token: string };

/** Signing in by key or portal link. What was read under another session is forgotten. */
export function useSignIn() {
  const client = useQueryClient();
  return useMutation<SessionInfo, ApiError, SignIn>({
    mutationFn: (body) => request<SessionInfo>('POST', PATH, { body }),
    onSuccess: (session) => {
      client.removeQueries({ queryKey: ['api'] });
      client.setQueryData(SESSION_KEY, session);
    },
  });
}

/** Ends the session on the server, and forgets everything that was read in it. */
export function useSignOut() {
  const client = useQueryClient();
  return useMutation<void, ApiError, void>({
    mutationFn: async () => {
      await request('DELETE', PATH).catch((error: unknown) => {
        // It had ended already: that is what was asked for.
        if (!(error instanceof ApiError && error.isUnauthorized)) throw error;
      });
    },
    onSuccess: () => {
      client.removeQueries({ queryKey: ['api'] });
      client.setQueryData(SESSION_KEY, null);
    },
  });
}

const SessionContext = createContext<SessionInfo | null>(null);

export function SessionProvider({ session, children }: { session: SessionInfo; children: ReactNode }) {
  return <SessionContext value={session}>{children}</SessionContext>;
}

/** The session of whoever looks at a page inside the shell, where somebody is always signed in. */
export function useSession(): SessionInfo {
  const session = useContext(SessionContext);
  if (session === null) throw new Error('useSession is for pages inside the shell.');
  return session;
}

export interface AccountInView {
  /** Whose things the page shows; null when an operator looks at all accounts. */
  account: string | null;
  /** What calls carry as `x-account`: null for customers, whose session says it. */
  actsFor: string | null;
  isOperator: boolean;
}

/** The account in view: a customer's own, an operator's by `?account=` in the URL. */
export function useAccount(): AccountInView {
  const { role, username } = useSession();
  const { account: chosen } = useSearch({ strict: false });
  const isOperator = role === 'operator';
  return useMemo(() => {
    const actsFor = isOperator ? (chosen ?? null) : null;
    return { account: isOperator ? actsFor : username, actsFor, isOperator };
  }, [isOperator, chosen, username]);
}
