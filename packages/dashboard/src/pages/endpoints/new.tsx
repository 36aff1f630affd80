import { PageHeader } from '../../ui/page.tsx';

export default function NewEndpointPage() {
  return <PageHeader title="Add endpoint" />;
}
