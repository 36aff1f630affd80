import { PageHeader } from '../../ui/page.tsx';

export default function EventPage() {
  return <PageHeader title="Event" />;
}
