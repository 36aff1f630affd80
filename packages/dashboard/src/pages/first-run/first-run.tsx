import { PageHeader } from '../../ui/page.tsx';

export default function FirstRunPage() {
  return <PageHeader title="First steps" />;
}
