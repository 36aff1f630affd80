import { CommandError } from './failure.ts';

type Fields = Record<string, unknown>;

/**
 * An example with fields of one's own. Each setting is `name=value`; a dot in the name goes into an object
 * (`error.code=7`). A value that is JSON (`7`, `true`, `{"a":1}`, `"7"`) counts as that, any other as text.
 *
 * @throws {CommandError} `usage` when a setting can't be read, or its number is one that JavaScript would round
 *
 * @example
 * withSettings({ status: 'completed', duration: 3 }, ['duration=12.5', 'status=failed']);
 * // { status: 'failed', duration: 12.5 }
 */
export function withSettings(example: object, settings: readonly string[]): Fields {
  const data = structuredClone(example) as Fields;
  for (const setting of settings) {
    const [, name = '', value = ''] = /^([^=]+)=(.*)$/s.exec(setting) ?? [];
    const steps = name.split('.');
    if (name === '' || steps.some((step) => step === '' || step === '__proto__')) {
      throw new CommandError(
        'usage',
        `--data ${JSON.stringify(setting)} is not name=value, such as video_id=v7 or error.code=7`,
      );
    }
    const last = steps.pop() as string;
    objectAt(data, steps)[last] = valueOf(name, value);
  }
  return data;
}

/** The object in which a setting's last step stands; made where there is none. */
function objectAt(data: Fields, steps: readonly string[]): Fields {
  let at = data;
  for (const step of steps) {
    const inner = Object.hasOwn(at, step) ? at[step] : undefined;
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) at[step] = {};
    at = at[step] as Fields;
  }
  return at;
}

function valueOf(name: string, text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return text;
  }
  // The server refuses them as well (wire contract, section 2), but would be shown the rounded number.
  if (typeof value === 'number' && (!Number.isFinite(value) || significant(text) > 15)) {
    throw new CommandError(
      'usage',
      `--data ${name}: the number ${text} can't be held exactly; send it as text: ${name}='"${text}"'`,
    );
  }
  return value;
}

/** A double holds any decimal number of up to 15 digits. */
function significant(number: string): number {
  return (number.split(/e/i)[0] as string).replace(/\D/g, '').replace(/^0+/, '').length;
}
