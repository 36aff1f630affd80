import { PageHeader } from '../../ui/page.tsx';

export default function EndpointPage() {
  return <PageHeader title="Endpoint" />;
}
