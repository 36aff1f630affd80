import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  BlockedAddressError,
  type Failure,
  failureOf,
  isReset,
  type Phase,
  statusFailure,
  timeoutFailure,
} from '../src/delivery/request-failure.ts';

const HOST = 'hooks.example.com';

const systemError = (code: string, message = code): Error => Object.assign(new Error(message), { code });

describe('an error that ended an attempt', () => {
  const rows: [error: Error, phase: Phase, outcome: Failure['outcome'], text: RegExp][] = [
    [systemError('ENOTFOUND'), 'lookup', 'dns_error', /does not exist in DNS/],
    [systemError('ENODATA'), 'lookup', 'dns_error', /no address in DNS/],
    [systemError('EAI_AGAIN'), 'lookup', 'dns_error', /name servers gave no address .*EAI_AGAIN/],
    [systemError('ETIMEOUT'), 'lookup', 'dns_error', /name servers gave no address .*ETIMEOUT/],
    [systemError('TOO_MANY_ADDRESSES'), 'lookup', 'dns_error', /too many addresses in DNS/],
    [systemError('ECONNREFUSED'), 'lookup', 'dns_error', /name servers/],
    [systemError('ECONNREFUSED'), 'connect', 'connect_error', /refused the connection/],
    [systemError('EHOSTUNREACH'), 'connect', 'connect_error', /no network route/],
    [systemError('ENETUNREACH'), 'connect', 'connect_error', /no network route/],
    [systemError('ETIMEDOUT'), 'connect', 'connect_error', /did not accept/],
    [systemError('EMFILE'), 'connect', 'connect_error', /could not be opened \(EMFILE\)/],
    [systemError('ECONNRESET'), 'connect', 'reset', /while it was being opened/],
    [
      new AggregateError([systemError('ECONNREFUSED'), systemError('ETIMEDOUT')]),
      'connect',
      'connect_error',
      /refused/,
    ],
    [systemError('ECONNRESET'), 'tls', 'reset', /during the TLS handshake/],
    [systemError('CERT_NOT_YET_VALID'), 'tls', 'tls_error', /not valid yet \(CERT_NOT_YET_VALID\)/],
    [systemError('UNABLE_TO_GET_ISSUER_CERT_LOCALLY'), 'tls', 'tls_error', /intermediate certificates/],
    [systemError('ERR_SSL_BAD_SIGNATURE'), 'tls', 'tls_error', /handshake .* failed \(ERR_SSL_BAD_S/],
    [systemError('ERR_SSL_UNSUPPORTED_PROTOCOL'), 'tls', 'tls_error', /no version of TLS that is still safe/],
    [
      systemError('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'),
      'answer',
      'tls_error',
      /demands a client cert/,
    ],
    [systemError('ECONNRESET'), 'answer', 'reset', /without an answer/],
    [systemError('EPIPE'), 'answer', 'reset', /without an answer/],
    [systemError('UND_ERR_SOCKET', 'other side closed'), 'headers', 'reset', /headers were complete/],
    [systemError('UND_ERR_SOCKET', 'other side closed'), 'body', 'reset', /body was complete/],
    [systemError('UND_ERR_SOCKET', 'bad upgrade'), 'headers', 'protocol_error', /HTTP 101/],
    [systemError('UND_ERR_HEADERS_OVERFLOW'), 'headers', 'protocol_error', /more than 16384 bytes/],
    [systemError('HPE_WHATEVER'), 'body', 'protocol_error', /malformed HTTP response/],
    [new Error('a surprise'), 'body', 'protocol_error', /malformed HTTP response \(unknown error\)/],
    [
      systemError('UND_ERR_INVALID_ARG', 'invalid x-token header'),
      'lookup',
      'protocol_error',
      /invalid x-token header; check the endpoint's custom headers/,
    ],
    [new BlockedAddressError('a private address'), 'lookup', 'blocked_address', /a private address/],
    [new BlockedAddressError('a private address'), 'connect', 'blocked_address', /a private address/],
  ];
  for (const [error, phase, outcome, text] of rows) {
    test(`${(error as { code?: string }).code ?? error.name} during ${phase} is ${outcome}`, () => {
      const failure = failureOf(error, HOST, phase, 16_384);
      assert.equal(failure.outcome, outcome);
      assert.match(failure.error, text);
      assert.ok(failure.error.includes(HOST), failure.error);
    });
  }
});

test('a time limit that ran out names the phase and the limit', () => {
  const phases: [Phase, RegExp][] = [
    ['lookup', /name servers/],
    ['connect', /accept a connection/],
    ['tls', /TLS handshake/],
    ['answer', /did not answer/],
    ['headers', /headers/],
    ['body', /response body/],
  ];
  for (const [phase, text] of phases) {
    const failure = timeoutFailure(HOST, phase, 1500);
    assert.equal(failure.outcome, 'timeout');
    assert.match(failure.error, text);
    assert.match(failure.error, /hooks\.example\.com.* within 1\.5 s$/);
  }
});

test('a redirect says what to do about it, another status stands for itself', () => {
  assert.match(statusFailure(HOST, 308).error, /redirects are not followed: set the endpoint/);
  assert.deepEqual(statusFailure(HOST, 503), {
    outcome: 'http_error',
    error: 'hooks.example.com answered HTTP 503',
  });
});

test('only a broken or closed connection is a reset', () => {
  assert.ok(isReset(systemError('ECONNRESET')));
  assert.ok(isReset(systemError('UND_ERR_SOCKET', 'other side closed')));
  assert.ok(!isReset(systemError('UND_ERR_SOCKET', 'bad response')));
  assert.ok(!isReset(systemError('UND_ERR_HEADERS_OVERFLOW')));
  assert.ok(!isReset(new Error('a surprise')));
});
