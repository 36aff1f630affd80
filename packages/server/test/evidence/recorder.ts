/**
 * Stands for `node:test` where tests are listed instead of run: suites are entered, so that tables make their tests, and
 * of each test only its name is kept.
 */
type Options = { skip?: unknown };
type Body = () => unknown;

const suites: string[] = [];
let names: string[] = [];

/** The names since the last call, each with those of its suites: `suite > test`. */
export function takeNames(): string[] {
  const taken = names;
  names = [];
  return taken;
}

function bodyOf(first: Options | Body | undefined, second: Body | undefined): Body {
  return (typeof first === 'function' ? first : second) ?? (() => {});
}

export function describe(name: string, first?: Options | Body, second?: Body): void {
  suites.push(name);
  bodyOf(first, second)();
  suites.pop();
}

export function it(name: string): void {
  names.push([...suites, name].join(' > '));
}

const nothing = (): void => {};
export const suite = describe;
export const test = it;
export const before = nothing;
export const after = nothing;
export const beforeEach = nothing;
export const afterEach = nothing;
export const mock = {};
export default it;
