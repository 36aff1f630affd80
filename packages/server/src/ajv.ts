/** The JSON Schema validator's code, loaded with the first schema that is compiled: a start compiles none (decision 0017). */
import { createRequire } from 'node:module';
import type * as Ajv2020Module from 'ajv/dist/2020.js';
import type ajvFormats from 'ajv-formats';

const require = createRequire(import.meta.url);

/** `ajv`'s compilers of JSON Schema 2020-12. */
export function loadAjv(): typeof Ajv2020Module {
  return require('ajv/dist/2020.js') as typeof Ajv2020Module;
}

/** What `format` means in an operator's schemas. */
export function loadAjvFormats(): typeof ajvFormats.default {
  return (require('ajv-formats') as typeof ajvFormats).default;
}
