/** What a line of the audit log says was changed, value by value. Pure, so that it can be tested by itself. */

export interface Change {
  name: string;
  /** Undefined where there was nothing. */
  before: string | undefined;
  /** Undefined where there is nothing any more. */
  after: string | undefined;
}

type Facts = Record<string, unknown> | null;

/** Texts as they are, everything else as JSON. */
function valueText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** @example changesOf({ status: 'active' }, { status: 'suspended' }); // [{ name: 'status', before: 'active', after: 'suspended' }] */
export function changesOf(before: Facts, after: Facts): Change[] {
  const names = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})]);
  const textOf = (facts: Facts, name: string) =>
    facts === null || facts[name] === undefined || facts[name] === null ? undefined : valueText(facts[name]);
  return [...names].map((name) => ({ name, before: textOf(before, name), after: textOf(after, name) }));
}

/** `endpoint.rotate_secret` as people say it: `endpoint: rotate secret`. */
export function actionWords(action: string): string {
  const [noun = '', verb = ''] = action.split('.');
  return `${noun.replaceAll('_', ' ')}: ${verb.replaceAll('_', ' ')}`;
}
