import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import './app.css';
import { ApiError } from './api/error.ts';
import { router } from './router.tsx';
import { SESSION_KEY } from './session/session.tsx';
import { ToastProvider } from './ui/toast.tsx';

/** The session ended under way (expired, signed out elsewhere, key revoked): the shell then asks to sign in again. */
function noticeSignOut(error: unknown): void {
  if (error instanceof ApiError && error.isUnauthorized) client.setQueryData(SESSION_KEY, null);
}

const client = new QueryClient({
  queryCache: new QueryCache({ onError: noticeSignOut }),
  mutationCache: new MutationCache({ onError: noticeSignOut }),
  defaultOptions: {
    queries: {
      staleTime: 5000,
      // A refusal is no better the second time; a server that is away may be back.
      retry: (failures, error) =>
        failures < 2 && error instanceof ApiError && (error.isUnreachable || error.status === 503),
    },
  },
});

const container = document.getElementById('root');
if (container === null) throw new Error('index.html has no #root.');
createRoot(container).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <ToastProvider>
        <RouterProvider router={router} />
      </ToastProvider>
    </QueryClientProvider>
  </StrictMode>,
);
