/** The frame of every page inside: navigation, account in view, who is signed in. Without a session it leads to sign-in. */
import { Link, Outlet, useLocation, useRouter } from '@tanstack/react-router';
import { Suspense, useEffect, useState } from 'react';

import type { SessionInfo } from '../api/types.ts';
import { SessionProvider, useSessionQuery } from '../session/session.tsx';
import { IconButton } from '../ui/button.tsx';
import { ErrorPanel } from '../ui/error-panel.tsx';
import { CloseIcon, MenuIcon } from '../ui/icons.tsx';
import { Mark } from '../ui/mark.tsx';
import { AccountSwitcher } from './account-switcher.tsx';
import { navFor } from './nav.ts';
import { SessionMenu } from './session-menu.tsx';
import { PageLoading } from './states.tsx';

export function Shell() {
  const session = useSessionQuery();
  if (session.isPending) return <ShellLoading />;
  if (session.isError) {
    return (
      <main className="mx-auto max-w-xl px-4 py-16">
        <h1 className="sr-only">Posthorn</h1>
        <ErrorPanel
          error={session.error}
          title="The dashboard can’t be shown"
          onRetry={() => void session.refetch()}
        />
      </main>
    );
  }
  if (session.data === null) return <ToSignIn />;
  return (
    <SessionProvider session={session.data}>
      <Frame session={session.data} />
    </SessionProvider>
  );
}

/** Leads to the door and notes where one wanted to go. */
function ToSignIn() {
  const router = useRouter();
  useEffect(() => {
    // Once: while the door is loaded this still stands here, and the address is the door's already.
    const { href, pathname } = router.state.location;
    if (pathname === '/sign-in') return;
    void router.navigate({ to: '/sign-in', search: href === '/' ? {} : { next: href }, replace: true });
  }, [router]);
  return <ShellLoading />;
}

/** The frame's shape, so that nothing jumps when it is known who is there. */
function ShellLoading() {
  return (
    <div className="min-h-dvh md:grid md:grid-cols-[13.5rem_minmax(0,1fr)]" role="status">
      <span className="sr-only">Loading…</span>
      <div className="border-line bg-surface h-12 border-b md:h-auto md:border-r md:border-b-0" />
      <div className="p-4 md:p-6">
        <PageLoading />
      </div>
    </div>
  );
}

function Frame({ session }: { session: SessionInfo }) {
  const [menuOpen, setMenuOpen] = useState(false);
  const { pathname } = useLocation();
  useEffect(() => setMenuOpen(false), [pathname]);
  return (
    <div className="min-h-dvh md:grid md:grid-cols-[13.5rem_minmax(0,1fr)]">
      <a
        href="#content"
        className="bg-solid text-on-solid sr-only z-50 rounded-md px-3 py-2 focus:not-sr-only focus:fixed focus:top-2 focus:left-2"
      >
        Skip to the content
      </a>
      <header className="border-line bg-surface sticky top-0 z-30 border-b md:h-dvh md:border-r md:border-b-0">
        <div className="flex max-h-dvh flex-col md:h-full">
          <div className="flex h-12 shrink-0 items-center justify-between gap-2 px-4">
            <Link to="/" className="flex items-center gap-2 rounded font-semibold tracking-tight">
              <Mark />
              Posthorn
            </Link>
            <IconButton
              className="md:hidden"
              small={false}
              label={menuOpen ? 'Close the navigation' : 'Open the navigation'}
              aria-expanded={menuOpen}
              aria-controls="navigation"
              icon={menuOpen ? <CloseIcon className="size-5" /> : <MenuIcon className="size-5" />}
              onClick={() => setMenuOpen(!menuOpen)}
            />
          </div>
          <div
            id="navigation"
            className={`${menuOpen ? 'flex' : 'hidden'} min-h-0 flex-1 flex-col gap-4 overflow-y-auto px-2 pb-3 md:flex`}
          >
            {session.role === 'operator' && <AccountSwitcher />}
            <Navigation role={session.role} />
            <SessionMenu session={session} />
          </div>
        </div>
      </header>
      <main id="content" tabIndex={-1} className="min-w-0 p-4 pb-16 outline-none md:p-6">
        <div className="mx-auto max-w-6xl">
          <Suspense fallback={<PageLoading />}>
            <Outlet />
          </Suspense>
        </div>
      </main>
    </div>
  );
}

function Navigation({ role }: { role: SessionInfo['role'] }) {
  return (
    <nav aria-label="Main" className="flex-1 space-y-4">
      {navFor(role).map(({ label, items }) => (
        <div key={label ?? ''}>
          {label !== null && <p className="text-faint px-2 pb-1 text-xs font-medium">{label}</p>}
          <ul className="space-y-px">
            {items.map(({ to, label: name, icon: Icon }) => (
              <li key={to}>
                <Link
                  to={to}
                  activeOptions={{ exact: to === '/', includeSearch: false }}
                  className="text-soft hover:bg-hover hover:text-ink aria-[current=page]:bg-sunken aria-[current=page]:text-ink flex h-8 items-center gap-2.5 rounded-md px-2 aria-[current=page]:font-medium"
                >
                  <Icon />
                  {name}
                </Link>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </nav>
  );
}
