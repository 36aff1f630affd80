/** What the lists of deliveries and of events are narrowed by alike: an event's type, its id, and a time range. */
import { Type } from './schema.ts';

import type { EventFilter } from '../store/store.ts';
import { EventTypeName, rangeFields, rangeOf } from './shapes.ts';

/** Query parameters; {@link eventFilterOf} reads them. */
export const eventFilterFields = {
  event: Type.Optional(EventTypeName),
  event_id: Type.Optional(Type.String({ maxLength: 128, description: 'Only of this event.' })),
  ...rangeFields,
};

/** @throws PosthornError `invalid_parameter` when the range ends before it begins */
export function eventFilterOf(query: {
  event?: string;
  event_id?: string;
  since?: number;
  until?: number;
}): EventFilter {
  return { event: query.event, eventId: query.event_id, ...rangeOf(query) };
}
