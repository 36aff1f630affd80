/** The way back to a list, over the title of one of its things. */
import { type LinkComponent, createLink } from '@tanstack/react-router';
import type { AnchorHTMLAttributes } from 'react';

import { ArrowLeftIcon } from './icons.tsx';

function BackAnchor({ children, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement>) {
  return (
    <a
      {...rest}
      className="text-soft hover:text-ink -ml-0.5 inline-flex items-center gap-1 rounded text-[0.8125rem]"
    >
      <ArrowLeftIcon className="size-3.5" />
      {children}
    </a>
  );
}

/** @example <BackLink to="/endpoints">Endpoints</BackLink> */
export const BackLink: LinkComponent<typeof BackAnchor> = createLink(BackAnchor);
