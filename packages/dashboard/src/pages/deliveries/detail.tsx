/** One delivery: what was sent, and what came back at each attempt. */
import { useParams } from '@tanstack/react-router';

import type { Delivery, DeliveryDetail } from '../../api/types.ts';
import { useApiMutation, useApiQuery } from '../../api/use-api.ts';
import { NeedsAccount } from '../../layout/needs-account.tsx';
import { presentSeconds } from '../../lib/now.ts';
import { BackLink } from '../../ui/back-link.tsx';
import { Button, ButtonLink, TextLink } from '../../ui/button.tsx';
import { BodyBlock, HeaderList } from '../../ui/code.tsx';
import { CopyButton } from '../../ui/copy.tsx';
import { ErrorPanel, sentence } from '../../ui/error-panel.tsx';
import { ReplayIcon } from '../../ui/icons.tsx';
import { Card, Facts, Id, PageHeader } from '../../ui/page.tsx';
import { CardSkeleton } from '../../ui/skeleton.tsx';
import { Countdown, TimeAndAge } from '../../ui/time.tsx';
import { useToast } from '../../ui/toast.tsx';
import { AttemptList } from './attempts.tsx';
import { DeliveryState } from './parts.tsx';

/** While something is about to happen the page looks often, while it is far away seldom, after the end not at all. */
function refetchMs(delivery: DeliveryDetail | undefined): number | false {
  if (delivery === undefined || delivery.next_attempt_at === null) return false;
  return delivery.next_attempt_at - presentSeconds() < 15 ? 1500 : 15_000;
}

export default function DeliveryPage() {
  return (
    <NeedsAccount title="Delivery" what="Deliveries">
      <DeliveryInView />
    </NeedsAccount>
  );
}

function DeliveryInView() {
  const { deliveryId } = useParams({ from: '/app/deliveries/$deliveryId' });
  const delivery = useApiQuery<DeliveryDetail>(`/v2/delivery/${encodeURIComponent(deliveryId)}`, {
    refetchInterval: (query) => refetchMs(query.state.data),
  });
  if (delivery.isPending) return <CardSkeleton lines={10} />;
  if (delivery.data === undefined) {
    return (
      <>
        <PageHeader title="Delivery" back={<BackLink to="/deliveries">Deliveries</BackLink>} />
        <ErrorPanel
          error={delivery.error}
          title="This delivery can’t be shown"
          onRetry={() => void delivery.refetch()}
        />
      </>
    );
  }
  return <DeliveryFacts delivery={delivery.data} />;
}

function DeliveryFacts({ delivery }: { delivery: DeliveryDetail }) {
  const { request, attempt_log: attempts, next_attempt_at: nextAttemptAt } = delivery;
  return (
    <>
      <PageHeader
        title={delivery.event}
        mono
        back={<BackLink to="/deliveries">Deliveries</BackLink>}
        beside={<DeliveryState delivery={delivery} />}
        actions={<DeliveryActions delivery={delivery} />}
      />
      <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_minmax(0,22rem)]">
        <div className="min-w-0 space-y-4 lg:order-2">
          <Card title="About">
            <Facts
              facts={[
                [
                  'Next attempt',
                  nextAttemptAt === null ? undefined : (
                    <strong key="next" className="font-medium">
                      <Countdown to={nextAttemptAt} passed="now" />
                    </strong>
                  ),
                ],
                ['Why', delivery.status_reason === null ? undefined : sentence(delivery.status_reason)],
                [
                  'Endpoint',
                  <TextLink
                    key="endpoint"
                    to="/endpoints/$endpointId"
                    params={{ endpointId: delivery.endpoint_id }}
                    className="font-mono text-[0.8125rem] break-all"
                  >
                    {delivery.url}
                  </TextLink>,
                ],
                [
                  'Event',
                  <TextLink
                    key="event"
                    to="/events/$eventId"
                    params={{ eventId: delivery.event_id }}
                    className="block min-w-0"
                  >
                    <Id>{delivery.event_id}</Id>
                  </TextLink>,
                ],
                [
                  'Delivery',
                  <span key="id" className="flex items-center gap-1">
                    <Id>{delivery.delivery_id}</Id>
                    <CopyButton text={delivery.delivery_id} label="Copy the delivery’s id" />
                  </span>,
                ],
                ['Attempts', String(delivery.attempts)],
                ['Made', <TimeAndAge key="made" at={delivery.created_at} />],
                [
                  'Ended',
                  delivery.completed_at === null ? undefined : (
                    <TimeAndAge key="ended" at={delivery.completed_at} />
                  ),
                ],
              ]}
            />
          </Card>
        </div>
        <div className="min-w-0 space-y-4 lg:order-1">
          <Card title="Attempts" flush>
            <AttemptList attempts={attempts} />
          </Card>
          <Card title="Request">
            <div className="space-y-3">
              <HeaderList
                headers={request.headers}
                empty="Headers appear with the first attempt: each attempt is signed when it is made."
              />
              <BodyBlock label="Body" text={request.body} />
            </div>
          </Card>
        </div>
      </div>
    </>
  );
}

function DeliveryActions({ delivery }: { delivery: DeliveryDetail }) {
  const toast = useToast();
  const retry = useApiMutation<void, Delivery>(
    (api) => api.send('POST', `/v2/delivery/${encodeURIComponent(delivery.delivery_id)}/retry`),
    () => toast({ text: 'It is attempted now.' }),
  );
  return (
    <>
      <ButtonLink
        to="/replays"
        search={{ endpoint_id: delivery.endpoint_id, since: String(delivery.created_at) }}
      >
        Replay from here
      </ButtonLink>
      <Button
        kind="primary"
        icon={<ReplayIcon />}
        busy={retry.isPending}
        onClick={() =>
          retry.mutate(undefined, {
            onError: (error) => toast({ tone: 'bad', text: sentence(error.message) }),
          })
        }
      >
        {delivery.status === 'pending' ? 'Retry now' : 'Send again'}
      </Button>
    </>
  );
}
