/** Whether deliveries get out of this machine: names are found as they find them, and a real connection is made. Nothing is sent. */
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { blockedAddress, checkEndpointUrl, type EndpointPolicy } from '../delivery/address-guard.ts';
import type { Lookup } from '../delivery/resolve.ts';
import type { Check } from './doctor-checks.ts';

const DIAL_TIMEOUT_MS = 5_000;
const HTTPS_PORT = 443;
const HTTP_PORT = 80;

export interface EgressToCheck {
  /** A receiver's URL; null: there is none to try. */
  url: string | null;
  policy: EndpointPolicy;
  lookup: Lookup;
  /** Certificates to trust beside the usual ones. */
  ca?: string;
  timeoutMs?: number;
}

/**
 * The checks `DNS` and `egress`, in this order: the name servers that deliveries ask, and a connection with TLS where the URL
 * wants it, to one of the addresses that may be dialled.
 */
export async function checkEgress(options: EgressToCheck): Promise<Check[]> {
  const { url, policy, lookup } = options;
  if (url === null) {
    const detail = 'there is no endpoint to look up and to dial; --to <url> names one';
    return [skipped('DNS', detail), skipped('egress', detail)];
  }
  let target: URL;
  try {
    target = checkEndpointUrl(url, policy);
  } catch (error) {
    return [
      skipped('DNS', 'not asked'),
      wrong('egress', (error as Error).message, 'give --to the URL of a receiver that deliveries may go to'),
    ];
  }
  const host = target.hostname.replace(/^\[|\]$/g, '');
  let addresses: readonly string[] = [host];
  const checks: Check[] = [];
  if (isIP(host) === 0) {
    const startedAt = performance.now();
    try {
      addresses = await lookup(host);
    } catch (error) {
      return [
        wrong(
          'DNS',
          `${host} is not found (${codeOf(error)})`,
          'see that the name servers in /etc/resolv.conf answer this machine (UDP and TCP port 53), and that the name exists',
        ),
        skipped('egress', 'there is no address to dial'),
      ];
    }
    const tookMs = Math.round(performance.now() - startedAt);
    checks.push(ok('DNS', `${host} is ${addresses.join(', ')}, found within ${tookMs} ms`));
  } else {
    checks.push(skipped('DNS', `${host} is an address`));
  }
  return [...checks, await checkDial(target, host, addresses, options)];
}

async function checkDial(
  target: URL,
  host: string,
  addresses: readonly string[],
  { policy, ca, timeoutMs = DIAL_TIMEOUT_MS }: EgressToCheck,
): Promise<Check> {
  const blocked = addresses.map((address) => ({ address, reason: blockedAddress(address, policy) }));
  const address = blocked.find(({ reason }) => reason === null)?.address;
  if (address === undefined) {
    return wrong(
      'egress',
      `${host} leads to ${blocked[0]?.address}, ${blocked[0]?.reason}`,
      'deliveries go to public addresses only; POSTHORN_ENDPOINT_POLICY=development lifts that on a developer’s machine',
    );
  }
  const isTls = target.protocol === 'https:';
  const port = target.port === '' ? (isTls ? HTTPS_PORT : HTTP_PORT) : Number(target.port);
  const where = `${address.includes(':') ? `[${address}]` : address}:${port}`;
  const startedAt = performance.now();
  try {
    await dial(
      () =>
        isTls
          ? connectTls({
              host: address,
              port,
              ...(isIP(host) === 0 ? { servername: host } : {}),
              ...(ca === undefined ? {} : { ca }),
            })
          : connectTcp({ host: address, port }),
      isTls ? 'secureConnect' : 'connect',
      timeoutMs,
    );
  } catch (error) {
    return wrong('egress', `${where} (${host}) can't be reached: ${codeOf(error)}`, fixOf(error));
  }
  const tookMs = Math.round(performance.now() - startedAt);
  return ok('egress', `${where} (${host}) ${isTls ? 'speaks TLS' : 'accepts'} within ${tookMs} ms`);
}

function dial(open: () => Socket, ready: string, timeoutMs: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = open();
  const timer = setTimeout(
    () => reject(Object.assign(new Error('no answer'), { code: `no answer within ${timeoutMs / 1000} s` })),
    timeoutMs,
  );
  socket.once(ready, () => resolve()).once('error', reject);
  return promise.finally(() => {
    clearTimeout(timer);
    socket.destroy();
  });
}

function fixOf(error: unknown): string {
  return /CERT|SELF_SIGNED|ALTNAME|VERIFY/.test(codeOf(error))
    ? 'the receiver’s certificate is refused: its owner mends it, or a proxy in between is trusted with NODE_EXTRA_CA_CERTS'
    : 'let this machine out to receivers (firewall, security group, network policy), or try another receiver with --to';
}

function codeOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}

function ok(check: string, detail: string): Check {
  return { check, status: 'ok', detail, fix: null };
}

function skipped(check: string, detail: string): Check {
  return { check, status: 'skipped', detail, fix: null };
}

function wrong(check: string, detail: string, fix: string): Check {
  return { check, status: 'wrong', detail, fix };
}
