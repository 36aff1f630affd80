/** Whether deliveries get out of this machine: names are found as they find them, and a real connection is made. Nothing is sent. */
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { blockedAddress, checkEndpointUrl, type EndpointPolicy } from '../delivery/address-guard.ts';
import { type AllowList, NOTHING_ALLOWED } from '../delivery/allow-list.ts';
import type { Lookup } from '../delivery/resolve.ts';
import { ProxyError } from '../delivery/request-failure.ts';
import { type EgressProxy, openTunnel } from '../delivery/tunnel.ts';
import type { Check } from './doctor-checks.ts';

const DIAL_TIMEOUT_MS = 5_000;
const HTTPS_PORT = 443;
const HTTP_PORT = 80;

export interface EgressToCheck {
  /** A receiver's URL; null: there is none to try. */
  url: string | null;
  policy: EndpointPolicy;
  /** What the operator has opened beyond the policy. */
  allow?: AllowList;
  /** Through which deliveries go out. */
  proxy?: EgressProxy | null;
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
  const { url, policy, allow = NOTHING_ALLOWED, proxy = null, lookup } = options;
  if (url === null) {
    const detail = 'there is no endpoint to look up and to dial; --to <url> names one';
    return [skipped('DNS', detail), skipped('egress', detail)];
  }
  let target: URL;
  try {
    target = checkEndpointUrl(url, policy, allow);
  } catch (error) {
    return [
      skipped('DNS', 'not asked'),
      wrong(
        'egress',
        (error as Error).message,
        'run doctor with the settings of serve (POSTHORN_ENDPOINT_POLICY, POSTHORN_ALLOW_PRIVATE), or give --to the URL of a receiver that deliveries may go to',
      ),
    ];
  }
  const host = target.hostname.replace(/^\[|\]$/g, '');
  if (proxy !== null) {
    const dns = skipped('DNS', 'names are left to the egress proxy');
    return [dns, await checkTunnel(target, host, proxy, options)];
  }
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
  { policy, allow, ca, timeoutMs = DIAL_TIMEOUT_MS }: EgressToCheck,
): Promise<Check> {
  const blocked = addresses.map((address) => ({
    address,
    reason: blockedAddress(address, policy, allow, host),
  }));
  const address = blocked.find(({ reason }) => reason === null)?.address;
  if (address === undefined) {
    return wrong(
      'egress',
      `${host} leads to ${blocked[0]?.address}, ${blocked[0]?.reason}`,
      'deliveries go to public addresses only; POSTHORN_ALLOW_PRIVATE opens parts of your own networks, POSTHORN_ENDPOINT_POLICY=development all of them on a developer’s machine',
    );
  }
  const isTls = target.protocol === 'https:';
  const port = portOf(target);
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

/** A tunnel and nothing in it: the receiver's TLS is its own matter, which the attempt log tells of. */
async function checkTunnel(
  target: URL,
  host: string,
  proxy: EgressProxy,
  { timeoutMs = DIAL_TIMEOUT_MS }: EgressToCheck,
): Promise<Check> {
  const port = portOf(target);
  const startedAt = performance.now();
  const socket = connectTcp({ host: proxy.host, port: proxy.port });
  const ended = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => ended.reject(new Error(`no answer within ${timeoutMs / 1000} s`)),
    timeoutMs,
  );
  socket.once('error', ended.reject);
  const opened = new Promise((resolve) => socket.once('connect', resolve)).then(() =>
    openTunnel(socket, proxy, host, port, () => {}),
  );
  // The one that loses may fail later, when the socket goes.
  opened.catch(() => {});
  try {
    await Promise.race([opened, ended.promise]);
  } catch (error) {
    return wrong(
      'egress',
      `the egress proxy gives no tunnel to ${host}:${port}: ${error instanceof ProxyError ? error.message : codeOf(error)}`,
      'see that POSTHORN_EGRESS_PROXY has its address and credentials, that it runs, and that its rules let receivers be reached, or try another receiver with --to',
    );
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
  const tookMs = Math.round(performance.now() - startedAt);
  return ok('egress', `the egress proxy opens a tunnel to ${host}:${port} within ${tookMs} ms`);
}

function portOf(target: URL): number {
  if (target.port !== '') return Number(target.port);
  return target.protocol === 'https:' ? HTTPS_PORT : HTTP_PORT;
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
