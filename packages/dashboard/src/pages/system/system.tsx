import { PageHeader } from '../../ui/page.tsx';

export default function SystemPage() {
  return <PageHeader title="System" />;
}
