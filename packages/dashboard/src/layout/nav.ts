/** The navigation, by role. */
import type { ComponentType } from 'react';

import {
  AccountIcon,
  AuditIcon,
  CatalogueIcon,
  DeliveryIcon,
  EndpointIcon,
  EventIcon,
  GuideIcon,
  type IconProps,
  KeyIcon,
  OverviewIcon,
  ReplayIcon,
  SystemIcon,
} from '../ui/icons.tsx';

export interface NavItem {
  to:
    | '/'
    | '/endpoints'
    | '/deliveries'
    | '/events'
    | '/replays'
    | '/event-types'
    | '/api-keys'
    | '/first-run'
    | '/accounts'
    | '/audit'
    | '/system';
  label: string;
  icon: ComponentType<IconProps>;
}

export interface NavGroup {
  label: string | null;
  items: readonly NavItem[];
}

const WEBHOOKS: NavGroup = {
  label: null,
  items: [
    { to: '/', label: 'Overview', icon: OverviewIcon },
    { to: '/endpoints', label: 'Endpoints', icon: EndpointIcon },
    { to: '/deliveries', label: 'Deliveries', icon: DeliveryIcon },
    { to: '/events', label: 'Events', icon: EventIcon },
    { to: '/replays', label: 'Replays', icon: ReplayIcon },
    { to: '/event-types', label: 'Event types', icon: CatalogueIcon },
  ],
};

export function navFor(role: 'operator' | 'account'): readonly NavGroup[] {
  const keys: NavItem = { to: '/api-keys', label: 'API keys', icon: KeyIcon };
  const guide: NavItem = { to: '/first-run', label: 'First steps', icon: GuideIcon };
  if (role === 'account') return [WEBHOOKS, { label: 'Set-up', items: [keys, guide] }];
  return [
    WEBHOOKS,
    {
      label: 'Operation',
      items: [
        { to: '/accounts', label: 'Accounts', icon: AccountIcon },
        keys,
        { to: '/audit', label: 'Audit log', icon: AuditIcon },
        { to: '/system', label: 'System', icon: SystemIcon },
        guide,
      ],
    },
  ];
}
