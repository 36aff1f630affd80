import { PageHeader } from '../../ui/page.tsx';

export default function DeliveriesPage() {
  return <PageHeader title="Deliveries" />;
}
