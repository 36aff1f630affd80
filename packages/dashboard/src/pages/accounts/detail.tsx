import { PageHeader } from '../../ui/page.tsx';

export default function AccountPage() {
  return <PageHeader title="Account" />;
}
