/** The public door of the library. */
export { type Config, ConfigError, type ConfigSources, loadConfig } from './config.ts';
export type { AttemptReport } from './delivery/dispatcher.ts';
export { type ErrorKind, PosthornError } from './errors.ts';
export {
  createPosthorn,
  type Posthorn,
  type PosthornEvent,
  type PosthornEvents,
  type PosthornHandler,
  type PosthornOptions,
  type Published,
  type PublishedInTransaction,
  type Refused,
  type SqlClient,
} from './library.ts';
export type * from './model.ts';
export { createService, type Service, type ServiceOptions } from './service.ts';
