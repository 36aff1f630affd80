-- What the publisher says of its trace is kept with the event, so that an attempt days later belongs to it
-- (docs/tracing.md): `traceparent` as it came, and behind a space `tracestate` where there was one; null without a trace.
ALTER TABLE event ADD COLUMN trace TEXT;
