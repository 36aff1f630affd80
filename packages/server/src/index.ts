/** The public door of the library. */
export { type Config, ConfigError, type ConfigSources, loadConfig } from './config.ts';
export { type ErrorKind, PosthornError } from './errors.ts';
export type * from './model.ts';
export { createService, type Service, type ServiceOptions } from './service.ts';
