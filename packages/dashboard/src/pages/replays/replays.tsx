import { PageHeader } from '../../ui/page.tsx';

export default function ReplaysPage() {
  return <PageHeader title="Replays" />;
}
