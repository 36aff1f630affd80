import type { AttemptOutcome } from '../model.ts';
import { TOO_MANY_ADDRESSES } from './resolve.ts';

/** How far an attempt has come: what it waits for now. */
export type Phase = 'lookup' | 'connect' | 'proxy' | 'tunnel' | 'tls' | 'answer' | 'headers' | 'body';

export interface Failure {
  outcome: Exclude<AttemptOutcome, 'success'>;
  /** One sentence for the endpoint's owner: what failed, where, and what to do if that isn't plain. */
  error: string;
}

/** An address that must not be dialled ({@link ./address-guard.ts}). */
export class BlockedAddressError extends Error {
  override readonly name = 'BlockedAddressError';
  /** The address's class; the address itself would tell an outsider about the network inside. */
  readonly reason: string;

  constructor(reason: string) {
    super(`not dialled: ${reason}`);
    this.reason = reason;
  }
}

/** Why the operator's egress proxy gave no tunnel to a receiver. */
export type ProxyRefusal =
  | 'broken_off'
  | 'not_http'
  | 'not_socks'
  | 'unauthorized'
  | 'refused'
  | 'not_allowed'
  | 'unreachable';

/**
 * The egress proxy refused or failed. Nothing of the proxy itself is in the message: its owner's network is nobody's
 * business among those who own endpoints.
 */
export class ProxyError extends Error {
  override readonly name = 'ProxyError';
  readonly refusal: ProxyRefusal;
  /** What it answered, `HTTP 403`; null when it didn't. */
  readonly said: string | null;

  constructor(refusal: ProxyRefusal, said: string | null = null) {
    super(`the egress proxy gave no tunnel: ${refusal}${said === null ? '' : ` (${said})`}`);
    this.refusal = refusal;
    this.said = said;
  }
}

function proxyFailure({ refusal, said }: ProxyError, host: string): Failure {
  const { outcome, error } = PROXY_REFUSALS[refusal];
  return { outcome, error: `${error(host)}${said === null ? '' : ` (${said})`}` };
}

const PROXY_REFUSALS: Record<ProxyRefusal, { outcome: Failure['outcome']; error: (host: string) => string }> =
  {
    broken_off: {
      outcome: 'proxy_error',
      error: (host) => `the egress proxy closed the connection instead of opening one to ${host}`,
    },
    not_http: {
      outcome: 'proxy_error',
      error: (host) => `the egress proxy gave an answer that is not HTTP, so ${host} was not reached`,
    },
    not_socks: {
      outcome: 'proxy_error',
      error: (host) => `the egress proxy gave an answer that is not SOCKS5, so ${host} was not reached`,
    },
    unauthorized: {
      outcome: 'proxy_error',
      error: (host) => `the egress proxy does not take Posthorn's credentials, so ${host} was not reached`,
    },
    refused: {
      outcome: 'proxy_error',
      error: (host) => `the egress proxy refused to open a connection to ${host}`,
    },
    not_allowed: {
      outcome: 'blocked_address',
      error: (host) => `the egress proxy does not allow connections to ${host}`,
    },
    unreachable: {
      outcome: 'connect_error',
      error: (host) => `the egress proxy could not connect to ${host}`,
    },
  };

/** The receiver answered with a status that isn't 2xx. */
export function statusFailure(host: string, httpStatus: number): Failure {
  const redirect = REDIRECTS.has(httpStatus)
    ? ', a redirect; redirects are not followed: set the endpoint to the final URL'
    : '';
  return { outcome: 'http_error', error: `${host} answered HTTP ${httpStatus}${redirect}` };
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** The time limit ended the attempt. */
export function timeoutFailure(host: string, phase: Phase | 'send', timeoutMs: number): Failure {
  return {
    outcome: phase === 'proxy' ? 'proxy_error' : 'timeout',
    error: `${TIMEOUTS[phase](host)} within ${timeoutMs / 1000} s`,
  };
}

const TIMEOUTS: Record<Phase | 'send', (host: string) => string> = {
  lookup: (host) => `the name servers gave no address for ${host}`,
  connect: (host) => `${host} did not accept a connection`,
  proxy: (host) => `the egress proxy did not answer, so ${host} was not reached`,
  tunnel: (host) => `the egress proxy opened no connection to ${host}`,
  tls: (host) => `${host} did not complete the TLS handshake`,
  send: (host) => `${host} did not read the whole request`,
  answer: (host) => `${host} did not answer`,
  headers: (host) => `${host} began an answer but did not complete its headers`,
  body: (host) => `${host} sent its status but did not complete the response body`,
};

/** The receiver closed a connection that it had kept open, and answered not a byte to what was sent on it. */
export function staleFailure(host: string): Failure {
  return {
    outcome: 'stale_connection',
    error: `${host} closed the connection kept from an earlier delivery as this one was sent; it is sent again at once on a new one`,
  };
}

/** The receiver sends interim responses (1xx) without end. */
export function interimFailure(host: string): Failure {
  return { outcome: 'protocol_error', error: `${host} sent too many interim (1xx) responses` };
}

/** True when the peer closed or broke the connection, rather than sent something wrong. */
export function isReset(error: unknown): boolean {
  return isResetCode(codeOf(error), messageOf(error));
}

/** Names what an error means that ended an attempt in `phase`. */
export function failureOf(error: unknown, host: string, phase: Phase, maxHeaderBytes: number): Failure {
  if (error instanceof BlockedAddressError) {
    return {
      outcome: 'blocked_address',
      error: `${host} leads to ${error.reason}, which Posthorn does not connect to`,
    };
  }
  if (error instanceof ProxyError) return proxyFailure(error, host);
  const code = codeOf(error);
  if (code === 'UND_ERR_INVALID_ARG') {
    // Said of names only, never of values: "invalid x-token header".
    const sentence = `the request to ${host} could not be made: ${messageOf(error)}; check the endpoint's custom headers`;
    return { outcome: 'protocol_error', error: sentence };
  }
  switch (phase) {
    case 'lookup':
      return lookupFailure(code, host);
    case 'connect':
      return connectFailure(code, host);
    case 'proxy':
    case 'tunnel':
      return {
        outcome: 'proxy_error',
        error: `the connection to the egress proxy failed (${code}), so ${host} was not reached`,
      };
    case 'tls':
      return tlsFailure(code, host);
    default:
      return exchangeFailure(code, messageOf(error), host, phase, maxHeaderBytes);
  }
}

function lookupFailure(code: string, host: string): Failure {
  const error =
    code === 'ENOTFOUND'
      ? `${host} does not exist in DNS`
      : code === 'ENODATA'
        ? `${host} has no address in DNS`
        : code === TOO_MANY_ADDRESSES
          ? `${host} has too many addresses in DNS`
          : `the name servers gave no address for ${host} (${code})`;
  return { outcome: 'dns_error', error };
}

function connectFailure(code: string, host: string): Failure {
  switch (code) {
    case 'ECONNREFUSED':
      return { outcome: 'connect_error', error: `${host} refused the connection (${code})` };
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return { outcome: 'connect_error', error: `there is no network route to ${host} (${code})` };
    case 'ETIMEDOUT':
      return { outcome: 'connect_error', error: `${host} did not accept a connection (${code})` };
    case 'ECONNRESET':
      return {
        outcome: 'reset',
        error: `${host} broke the connection off while it was being opened (${code})`,
      };
    default:
      return { outcome: 'connect_error', error: `the connection to ${host} could not be opened (${code})` };
  }
}

function tlsFailure(code: string, host: string): Failure {
  if (isResetCode(code, '')) {
    return { outcome: 'reset', error: `${host} closed the connection during the TLS handshake (${code})` };
  }
  const known = TLS_CAUSES[code];
  const error = known ? `${known(host)} (${code})` : `the TLS handshake with ${host} failed (${code})`;
  return { outcome: 'tls_error', error };
}

const incompleteChain = (host: string): string =>
  `the TLS certificate of ${host} is not signed by a trusted authority, or its server does not send the intermediate certificates`;
const selfSigned = (host: string): string =>
  `the TLS certificate of ${host} is self-signed or signed by a private authority`;
const oldTls = (host: string): string => `${host} offers no version of TLS that is still safe (1.2 or 1.3)`;
const noCipher = (host: string): string =>
  `${host} has no cipher in common with Posthorn, or refuses the handshake for a reason that it doesn't tell`;
const wantsCertificate = (host: string): string =>
  `${host} demands a client certificate, which Posthorn does not have`;
const noTls = (host: string): string => `${host} does not speak TLS on this port`;

const TLS_CAUSES: Record<string, (host: string) => string> = {
  CERT_HAS_EXPIRED: (host) => `the TLS certificate of ${host} has expired`,
  CERT_NOT_YET_VALID: (host) => `the TLS certificate of ${host} is not valid yet`,
  CERT_REVOKED: (host) => `the TLS certificate of ${host} was revoked`,
  ERR_TLS_CERT_ALTNAME_INVALID: (host) => `the TLS certificate of ${host} is for another host name`,
  DEPTH_ZERO_SELF_SIGNED_CERT: selfSigned,
  SELF_SIGNED_CERT_IN_CHAIN: selfSigned,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: incompleteChain,
  UNABLE_TO_GET_ISSUER_CERT: incompleteChain,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: incompleteChain,
  ERR_SSL_UNSUPPORTED_PROTOCOL: oldTls,
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: oldTls,
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: noCipher,
  'ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE': noCipher,
  ERR_SSL_NO_SHARED_CIPHER: noCipher,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: wantsCertificate,
  ERR_SSL_TLSV1_UNRECOGNIZED_NAME: (host) => `${host} has no certificate for this name`,
  ERR_SSL_WRONG_VERSION_NUMBER: noTls,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: noTls,
};

function exchangeFailure(
  code: string,
  message: string,
  host: string,
  phase: 'answer' | 'headers' | 'body',
  maxHeaderBytes: number,
): Failure {
  // With TLS 1.3 a server refuses a missing client certificate only after the handshake.
  if (code.startsWith('ERR_SSL_') || code === 'EPROTO') return tlsFailure(code, host);
  // undici says "content-length mismatch" for two lengths that differ too; in the body it means a premature end.
  const endedEarly = code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' && phase === 'body';
  if (endedEarly || isResetCode(code, message)) return { outcome: 'reset', error: RESETS[phase](host) };
  const protocolError = (error: string): Failure => ({ outcome: 'protocol_error', error });
  if (code === 'UND_ERR_HEADERS_OVERFLOW') {
    return protocolError(`${host} sent more than ${maxHeaderBytes} bytes of response headers`);
  }
  if (message === 'bad upgrade') {
    return protocolError(`${host} tried to switch to another protocol (HTTP 101)`);
  }
  if (message === 'bad response') return protocolError(`${host} sent an HTTP 100 that nobody asked for`);
  const reason = code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' ? 'contradictory lengths' : code;
  return protocolError(`${host} sent a malformed HTTP response (${parserReason(message) ?? reason})`);
}

const RESETS: Record<'answer' | 'headers' | 'body', (host: string) => string> = {
  answer: (host) => `${host} closed the connection without an answer`,
  headers: (host) => `${host} closed the connection before its response headers were complete`,
  body: (host) => `${host} closed the connection before its response body was complete`,
};

function isResetCode(code: string, message: string): boolean {
  switch (code) {
    case 'ECONNRESET':
    case 'ECONNABORTED':
    case 'EPIPE':
    case 'ETIMEDOUT':
      return true;
    case 'UND_ERR_SOCKET':
      // undici has one code for a close and for two kinds of wrong answers, told apart by their text alone.
      return message !== 'bad response' && message !== 'bad upgrade';
    default:
      // The connection ended between two chunks. The parser's errors carry no code in undici 8.12.4.
      return parserReason(message) === 'Invalid EOF state';
  }
}

/** What the HTTP parser disliked, one of its own fixed phrases: "Invalid character in chunk size". */
function parserReason(message: string): string | undefined {
  return /^Response does not match the HTTP\/1\.1 protocol \((.*)\)$/.exec(message)?.[1];
}

/** The system's or library's code; of several addresses that all failed, the first one's. */
function codeOf(error: unknown): string {
  const { code, errors } = error as { code?: unknown; errors?: unknown[] };
  if (typeof code === 'string') return code;
  return Array.isArray(errors) && errors.length > 0 ? codeOf(errors[0]) : 'unknown error';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : '';
}
