/**
 * How many deliveries a receiver verifies a second on one core, against `standardwebhooks` in the same run: bodies of
 * 1 KB as their bytes, verified and parsed, one after the other. Rounds are interleaved; medians.
 *
 * `npm run bench:verify`
 */
import { Webhook } from 'standardwebhooks';
import { safeVerify, sign, verify } from '../packages/receiver/src/core.ts';

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const BODY_BYTES = 1024;
const ROUNDS = 7;
const ROUND_MS = 400;
const BATCH = 200;

const frame = {
  event_id: 'evt_1',
  event: 'generated_video_success',
  timestamp: 1_767_225_600,
  data: { text: '' },
};
frame.data.text = 'x'.repeat(BODY_BYTES - JSON.stringify(frame).length);
const body = Buffer.from(JSON.stringify(frame));
const headers = await sign(body, { secrets: SECRET });
const forged = { ...headers, 'webhook-signature': `v1,${'A'.repeat(43)}=` };
const webhook = new Webhook(SECRET);
const { getBuiltinModule } = process;

interface Candidate {
  name: string;
  /** False hides Node's crypto, as in a browser. */
  nodeCrypto: boolean;
  verifyOne(): unknown;
}

const candidates: Candidate[] = [
  { name: 'standardwebhooks', nodeCrypto: true, verifyOne: () => webhook.verify(body, headers) },
  {
    name: '@posthorn/receiver, standard',
    nodeCrypto: true,
    verifyOne: () => verify(body, headers, { secrets: SECRET }),
  },
  {
    name: '@posthorn/receiver, both schemes',
    nodeCrypto: true,
    verifyOne: () => verify(body, headers, { secrets: SECRET, scheme: 'both' }),
  },
  {
    name: '@posthorn/receiver, WebCrypto alone',
    nodeCrypto: false,
    verifyOne: () => verify(body, headers, { secrets: SECRET }),
  },
  {
    name: '@posthorn/receiver, forged',
    nodeCrypto: true,
    verifyOne: () => safeVerify(body, forged, { secrets: SECRET }),
  },
];

/** Verifications a second of one round. */
async function round({ nodeCrypto, verifyOne }: Candidate): Promise<number> {
  if (!nodeCrypto) Reflect.deleteProperty(process, 'getBuiltinModule');
  try {
    const startedAt = performance.now();
    let count = 0;
    let elapsedMs = 0;
    while (elapsedMs < ROUND_MS) {
      for (let n = 0; n < BATCH; n++) await verifyOne();
      count += BATCH;
      elapsedMs = performance.now() - startedAt;
    }
    return count / (elapsedMs / 1000);
  } finally {
    process.getBuiltinModule = getBuiltinModule;
  }
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;
}

const rates = new Map(candidates.map(({ name }) => [name, [] as number[]]));
// One round more than counts: the first warms up.
for (let n = 0; n <= ROUNDS; n++) {
  for (const candidate of candidates) {
    const rate = await round(candidate);
    if (n > 0) rates.get(candidate.name)?.push(rate);
  }
}

const [first] = candidates;
const baseline = median(rates.get(first?.name ?? '') ?? []);
console.log(`Verifications a second, ${BODY_BYTES} bytes, medians of ${ROUNDS} interleaved rounds\n`);
for (const [name, all] of rates) {
  const rate = median(all);
  console.log(
    `${name.padEnd(38)} ${Math.round(rate).toLocaleString('en').padStart(9)}/s ${(rate / baseline).toFixed(2).padStart(6)} ×`,
  );
}
