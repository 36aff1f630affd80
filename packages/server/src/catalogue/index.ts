/** The door of the catalogue: what other rooms use. */
export { BUILT_IN_TYPES } from './built-in.ts';
export { Catalogue, type EventTypeInput, withDeprecation } from './catalogue.ts';
export { checkTypeName } from './names.ts';
export { OPERATIONAL_TYPES } from './operational.ts';
export { MAX_SCHEMA_BYTES } from './schema.ts';
