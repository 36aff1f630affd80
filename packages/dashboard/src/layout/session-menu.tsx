/** Who is signed in, light or dark, the way out. */

import type { SessionInfo } from '../api/types.ts';
import { BASE } from '../lib/base.ts';
import { type Theme, chooseTheme, useTheme } from '../lib/theme.ts';
import { useSignOut } from '../session/session.tsx';
import { Button, IconButton } from '../ui/button.tsx';
import { MoonIcon, SignOutIcon, SunIcon, SystemThemeIcon } from '../ui/icons.tsx';
import { Menu } from '../ui/menu.tsx';
import { Age } from '../ui/time.tsx';
import { useToast } from '../ui/toast.tsx';

const THEMES: readonly { theme: Theme; label: string; icon: typeof SunIcon }[] = [
  { theme: 'system', label: 'As the system', icon: SystemThemeIcon },
  { theme: 'light', label: 'Light', icon: SunIcon },
  { theme: 'dark', label: 'Dark', icon: MoonIcon },
];

export function SessionMenu({ session }: { session: SessionInfo }) {
  const signOut = useSignOut();
  const toast = useToast();
  return (
    <div className="border-line space-y-1 border-t px-2 pt-3">
      <div className="flex items-center justify-between gap-2">
        <p className="min-w-0 truncate font-medium" title={session.username ?? 'Operator'}>
          {session.username ?? 'Operator'}
        </p>
        <ThemeMenu />
      </div>
      <p className="text-faint text-xs">
        Session ends <Age at={session.expires_at} />
      </p>
      <div className="flex items-center justify-between gap-2 pt-1">
        <Button
          small
          kind="quiet"
          className="-ml-2"
          icon={<SignOutIcon />}
          busy={signOut.isPending}
          onClick={() =>
            signOut.mutate(undefined, {
              onError: (error) => toast({ tone: 'bad', text: `You are still signed in. ${error.message}` }),
            })
          }
        >
          Sign out
        </Button>
        <a
          href={`${BASE}/docs`}
          className="text-soft hover:text-ink text-[0.8125rem] underline-offset-2 hover:underline"
        >
          API docs
        </a>
      </div>
    </div>
  );
}

export function ThemeMenu() {
  const theme = useTheme();
  const Icon = THEMES.find((entry) => entry.theme === theme)?.icon ?? SystemThemeIcon;
  return (
    <Menu
      trigger={<IconButton label="Light or dark" icon={<Icon />} />}
      items={THEMES.map(({ theme: choice, label, icon: ItemIcon }) => ({
        label,
        icon: <ItemIcon />,
        checked: theme === choice,
        onSelect: () => chooseTheme(choice),
      }))}
    />
  );
}
