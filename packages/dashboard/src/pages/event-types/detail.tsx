import { PageHeader } from '../../ui/page.tsx';

export default function EventTypePage() {
  return <PageHeader title="Event type" />;
}
