/** Pages that show one account's things: an operator who looks at all accounts chooses one first. */
import type { ReactNode } from 'react';

import { useAccount } from '../session/session.tsx';
import { ButtonLink } from '../ui/button.tsx';
import { Card, PageHeader } from '../ui/page.tsx';
import { AccountChoice } from './account-switcher.tsx';

/**
 * @param props.title - the page's, shown over the choice
 * @param props.what - what belongs to an account: `Endpoints`
 */
export function NeedsAccount({
  title,
  what,
  children,
}: {
  title: string;
  what: string;
  children: ReactNode;
}) {
  const { account } = useAccount();
  if (account !== null) return children;
  return (
    <>
      <PageHeader title={title}>{what} belong to an account. Choose whose you want to see.</PageHeader>
      <Card
        className="max-w-xl"
        title="Accounts"
        actions={
          <ButtonLink to="/accounts" small>
            Manage
          </ButtonLink>
        }
      >
        <AccountChoice />
      </Card>
    </>
  );
}
