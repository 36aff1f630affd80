import { PageHeader } from '../../ui/page.tsx';

export default function EndpointsPage() {
  return <PageHeader title="Endpoints" />;
}
