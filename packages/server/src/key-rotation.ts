/**
 * The rotation of the encryption key, while the service runs: a new key is made the active one, every value that is
 * sealed with an older one is sealed anew in small batches, and an older key is retired when nothing needs it. Where it
 * stands is in the database alone, so a process that dies is followed by whoever comes next
 * (docs/decisions/0009-secrets-at-rest.md).
 */
import type { Clock } from './clock.ts';
import { PosthornError } from './errors.ts';
import { serviceActor } from './first-start.ts';
import { readKeyFile, replaceKeyFile } from './key-file.ts';
import type { AuditActor } from './model.ts';
import { endpointHeadersContext, endpointSecretContext, keyId, type Vault } from './secrets.ts';
import type { EncryptionKeys, Resealing, SealedValues, Store } from './store/store.ts';

/** How often a node that shares its data looks for what others have begun. */
const LOOK_EVERY_MS = 2_000;
/** Between two batches: deliveries and requests get their turn. */
const BATCH_PAUSE_MS = 20;
const BATCH_ENDPOINTS = 100;
/** When values are left that can't be opened, or another process still seals with an older key. */
const AGAIN_MS = 2_000;
const AFTER_ERROR_MS = 5_000;

export interface KeyRotationOptions {
  store: Pick<Store, 'announceEncryptionKeys' | 'countSealed' | 'listResealable' | 'reseal' | 'as'>;
  vault: Vault;
  clock: Pick<Clock, 'now' | 'timer'>;
  /** The key file, where the keys are in one; null: the configuration gives them. */
  file: string | null;
  /** Other processes may share the data. */
  isShared: boolean;
  /** How the configuration calls the settings. */
  setting: string;
  olderSetting: string;
  onProgress: (resealed: number) => void;
  onRetired: (keyId: string) => void;
  onError: (message: string, error: unknown) => void;
}

export interface RotationStatus {
  /** `running` as long as there is an older key. */
  state: 'idle' | 'running';
  activeId: string;
  olderIds: string[];
  /** What the next rotation makes active; null when it is already, or when the rotation is to make it. */
  nextId: string | null;
  /** A rotation makes a key by itself and keeps it in the key file. */
  makesKey: boolean;
  /** How many values are sealed with each key, by its id. */
  values: Record<string, number>;
  /** How many of them are sealed with another key than the active one. */
  remaining: number;
}

/**
 * @example
 * const rotation = new KeyRotation({ store, vault, … });
 * rotation.start();
 * await rotation.rotate(actor); // { state: 'running', … }
 * await rotation.stop();
 */
export class KeyRotation {
  readonly #options: KeyRotationOptions;
  /** Where the pass over the endpoints stands; null at its beginning. */
  #cursor: string | null = null;
  /** Values that the present pass has found. */
  #found = 0;
  #looking: Promise<void> | null = null;
  #wokenMeanwhile = false;
  #cancelTimer: () => void = () => {};
  #isStopped = false;

  constructor(options: KeyRotationOptions) {
    this.#options = options;
  }

  /** Goes on with a rotation that is under way, and on shared data looks for one that another node begins. */
  start(): void {
    this.#wake();
  }

  /** Resolves when nothing of it is with the store any more. What it leaves undone the next start goes on with. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelTimer();
    await this.#looking;
  }

  async status(): Promise<RotationStatus> {
    const { store, vault, file } = this.#options;
    const { activeId, olderIds } = await this.#announce();
    const values = await store.countSealed();
    const others = Object.entries(values).filter(([id]) => id !== activeId);
    return {
      state: olderIds.length === 0 ? 'idle' : 'running',
      activeId,
      olderIds,
      nextId: vault.keyId === activeId ? null : vault.keyId,
      makesKey: file !== null && vault.keyId === activeId,
      values,
      remaining: others.reduce((sum, [, count]) => sum + count, 0),
    };
  }

  /**
   * Makes the configured key the active one (where the keys are in a file: a key that it makes), and has everything
   * sealed anew in the background. While a rotation is under way it goes on with that one.
   *
   * @throws PosthornError `invalid_parameter` when there is no new key, `conflict` while a node that is alive doesn't
   *   know it: then nothing was changed
   */
  async rotate(by: AuditActor): Promise<RotationStatus> {
    const { store, vault, file, setting, olderSetting, clock } = this.#options;
    const before = await this.status();
    if (before.nextId === null && before.state === 'idle') {
      if (file === null) {
        throw new PosthornError(
          'invalid_parameter',
          `there is no new key: ${before.activeId} of ${setting} is the active one already. Start every node with the new ` +
            `key as ${setting} and the present one as ${olderSetting}, then rotate`,
        );
      }
      await this.#makeKey(file, clock.now());
    }
    if (vault.keyId !== before.activeId) {
      await store.announceEncryptionKeys(vault.keyIds, vault.sealsWith);
      await store.as(by).activateEncryptionKey(vault.keyId);
      await this.#announce();
    }
    this.#wake();
    return this.status();
  }

  /** The key is in the file, on disk, before anything is sealed with it. */
  async #makeKey(file: string, nowMs: number): Promise<void> {
    const { vault } = this.#options;
    const present = await readKeyFile(file);
    if (present === null || !vault.knows(keyId(present))) {
      throw new PosthornError(
        'unavailable',
        `${file} doesn't hold the key that this process was started with: put it back, or restart Posthorn`,
      );
    }
    vault.addFirst(await replaceKeyFile(file, nowMs));
  }

  /** Tells what this process knows and takes over with which key it seals. */
  async #announce(): Promise<EncryptionKeys & { reseals: boolean }> {
    const { store, vault } = this.#options;
    const keys = await store.announceEncryptionKeys(vault.keyIds, vault.sealsWith);
    const { activeId, olderIds } = keys;
    for (const id of [activeId, ...olderIds]) {
      if (!vault.knows(id)) {
        throw new PosthornError(
          'internal',
          `the data is encrypted with key ${id}, which this process doesn't have: restart it with the keys of the others`,
        );
      }
    }
    if (activeId === vault.sealsWith) return keys;
    vault.sealWith(activeId);
    return store.announceEncryptionKeys(vault.keyIds, vault.sealsWith);
  }

  #wake(): void {
    if (this.#isStopped) return;
    if (this.#looking !== null) {
      this.#wokenMeanwhile = true;
      return;
    }
    this.#cancelTimer();
    this.#looking = this.#look();
  }

  async #look(): Promise<void> {
    const { isShared, onError } = this.#options;
    let delayMs: number | null;
    try {
      delayMs = await this.#step();
    } catch (error) {
      const isAway = error instanceof PosthornError && error.kind === 'unavailable';
      if (!isAway) onError('the rotation of the encryption key can’t go on; trying again', error);
      delayMs = AFTER_ERROR_MS;
    }
    this.#looking = null;
    if (this.#isStopped) return;
    if (this.#wokenMeanwhile) delayMs = 0;
    this.#wokenMeanwhile = false;
    delayMs ??= isShared ? LOOK_EVERY_MS : null;
    if (delayMs !== null) this.#cancelTimer = this.#options.clock.timer(delayMs, () => this.#wake());
  }

  /** One batch; answers after how long the next is due, null when there is none. */
  async #step(): Promise<number | null> {
    const { store, onProgress, onRetired } = this.#options;
    const { olderIds, reseals } = await this.#announce();
    if (olderIds.length === 0 || !reseals) {
      this.#cursor = null;
      return null;
    }
    if (this.#cursor === null) this.#found = 0;
    const { items, nextCursor } = await store.listResealable({
      limit: BATCH_ENDPOINTS,
      cursor: this.#cursor,
    });
    const values = items.flatMap((item) => this.#sealAnew(item));
    this.#found += items.length;
    this.#cursor = nextCursor;
    if (values.length > 0) onProgress(await store.reseal(values));
    // What was written behind the pass is found by the next; only one that finds nothing ends the rotation.
    if (nextCursor !== null) return BATCH_PAUSE_MS;
    if (this.#found > 0) return values.length > 0 ? BATCH_PAUSE_MS : AGAIN_MS;
    let isDone = true;
    for (const id of olderIds) {
      if (await store.as(serviceActor('rotation of the encryption key')).retireEncryptionKey(id))
        onRetired(id);
      else isDone = false;
    }
    return isDone ? null : AGAIN_MS;
  }

  /** What can't be opened stays as it is, and keeps its key from being retired. */
  #sealAnew({ username, endpointId, secret, previousSecret, headers }: SealedValues): Resealing[] {
    const { vault, onError } = this.#options;
    const values: Resealing[] = [];
    const add = (field: Resealing['field'], from: string | null, context: string): void => {
      if (from === null || from.split('.', 2)[1] === vault.sealsWith) return;
      try {
        values.push({
          username,
          endpointId,
          field,
          from,
          to: vault.seal(vault.open(from, context), context),
        });
      } catch (error) {
        onError(`${field} of endpoint ${endpointId} can't be sealed anew`, error);
      }
    };
    add('secret', secret, endpointSecretContext(endpointId));
    add('previousSecret', previousSecret, endpointSecretContext(endpointId));
    add('headers', headers, endpointHeadersContext(endpointId));
    return values;
  }
}
