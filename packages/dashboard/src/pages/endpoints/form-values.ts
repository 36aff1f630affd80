/** An endpoint in the form's terms, and back to what the API takes. */
import type { Endpoint, EndpointStatus } from '../../api/types.ts';
import { type HeaderRow, toHeaders, toRows } from './header-fields.tsx';

export interface FormValues {
  url: string;
  description: string;
  events: string[];
  status: EndpointStatus;
  rateLimit: string;
  timeout: string;
  headers: HeaderRow[];
  /** JSON; empty for none. */
  metadata: string;
}

/** The API's names of the form's fields: where its messages go. */
export const FIELDS = [
  'url',
  'events',
  'status',
  'description',
  'headers',
  'rate_limit_per_second',
  'timeout_seconds',
  'metadata',
] as const;

export type FieldName = (typeof FIELDS)[number];

export function valuesOf(endpoint: Endpoint): FormValues {
  return {
    url: endpoint.url,
    description: endpoint.description ?? '',
    events: endpoint.events,
    status: endpoint.status,
    rateLimit: endpoint.rate_limit_per_second === undefined ? '' : String(endpoint.rate_limit_per_second),
    timeout: endpoint.timeout_seconds === undefined ? '' : String(endpoint.timeout_seconds),
    headers: toRows(endpoint.headers),
    metadata: endpoint.metadata === undefined ? '' : JSON.stringify(endpoint.metadata, null, 2),
  };
}

export interface EndpointBody {
  url: string;
  events: string[];
  status: EndpointStatus;
  description: string | null;
  headers: Record<string, string> | null;
  rate_limit_per_second: number | null;
  timeout_seconds: number | null;
  metadata: unknown;
}

/** The mistake of a field that can't be told to the API, because it isn't JSON. */
export class FieldMistake extends Error {
  readonly field: FieldName;

  constructor(field: FieldName, message: string) {
    super(message);
    this.field = field;
  }
}

/**
 * What the form says, as the API takes it. What is empty is null.
 *
 * @throws FieldMistake when a text can't become what the API takes at all; everything else is the API's to judge
 */
export function bodyOf(values: FormValues): EndpointBody {
  const number = (field: FieldName, text: string): number | null => {
    if (text.trim() === '') return null;
    const value = Number(text);
    if (!Number.isFinite(value)) throw new FieldMistake(field, `${field} must be a number`);
    return value;
  };
  const headers = toHeaders(values.headers);
  return {
    url: values.url.trim(),
    events: values.events,
    status: values.status,
    description: values.description.trim() || null,
    headers: Object.keys(headers).length === 0 ? null : headers,
    rate_limit_per_second: number('rate_limit_per_second', values.rateLimit),
    timeout_seconds: number('timeout_seconds', values.timeout),
    metadata: metadataOf(values.metadata),
  };
}

function metadataOf(text: string): unknown {
  if (text.trim() === '') return null;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FieldMistake('metadata', `metadata is not JSON: ${(error as Error).message}`);
  }
}

/** For a new endpoint: what is empty is left out. */
export function withoutEmpty(body: EndpointBody): Partial<EndpointBody> {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}

/** What was changed in the form, so that what somebody else changed meanwhile stays. */
export function changesOf(before: EndpointBody, after: EndpointBody): Partial<EndpointBody> {
  return Object.fromEntries(
    Object.entries(after).filter(
      ([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name as FieldName]),
    ),
  );
}
