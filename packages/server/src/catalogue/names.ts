import { invalid } from '../errors.ts';

const NAME = /^[a-z][a-z0-9_.]{0,127}$/;

/**
 * Checks the name of an operator's own event type: 1 to 128 lower-case letters, digits, `_` and `.`, beginning with a
 * letter (wire contract, section 3).
 *
 * @throws PosthornError `invalid_parameter` of field `name`.
 *
 * @example
 * checkTypeName('invoice.paid');
 */
export function checkTypeName(name: string): void {
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw invalid(
      'name',
      'name must be 1 to 128 lower-case letters, digits, "_" and "." and begin with a letter, such as "invoice.paid"',
    );
  }
}
