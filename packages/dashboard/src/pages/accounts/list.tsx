import { PageHeader } from '../../ui/page.tsx';

export default function AccountsPage() {
  return <PageHeader title="Accounts" />;
}
