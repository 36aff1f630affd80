/**
 * Search parameters as plain texts. The router's own way reads `?account=123` as a number and writes texts in quotes
 * where they look like one; here a URL says what it says.
 */

export function parseSearch(search: string): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(search));
}

export function stringifySearch(search: Record<string, unknown>): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(search)) {
    if (value !== undefined && value !== null && value !== '') parameters.set(name, String(value));
  }
  return parameters.size === 0 ? '' : `?${parameters.toString()}`;
}

/**
 * A check of a route's search parameters: these names, each an optional text; others are dropped.
 *
 * @example
 * validateSearch: texts('status', 'cursor')
 */
export function texts<Name extends string>(...names: Name[]) {
  return (search: Partial<Record<Name, string>>): { [N in Name]?: string } => {
    const kept: { [N in Name]?: string } = {};
    for (const name of names) {
      const value: unknown = search[name];
      if (typeof value === 'string' && value !== '') kept[name] = value;
    }
    return kept;
  };
}

/** A whole number out of a URL (a time in unix seconds); undefined when it is none. */
export function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,12}$/.test(text) ? Number(text) : undefined;
}
