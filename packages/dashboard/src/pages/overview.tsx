import { PageHeader } from '../ui/page.tsx';

export default function OverviewPage() {
  return <PageHeader title="Overview" />;
}
