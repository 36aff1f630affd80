import { PageHeader } from '../../ui/page.tsx';

export default function EventTypesPage() {
  return <PageHeader title="Event types" />;
}
