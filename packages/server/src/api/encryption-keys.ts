/** The keys that secrets are encrypted with at rest, by their ids. The keys themselves are in no answer. */
import { type Static, Type } from './schema.ts';

import type { RotationStatus } from '../key-rotation.ts';
import type { ApiDeps } from './deps.ts';
import { type ApiRoute, route } from './route.ts';
import { NullableText } from './shapes.ts';

const KeyId = Type.String({
  description: 'The first 8 hex digits of the SHA-256 of the key.',
  examples: ['4f1c9a02'],
});

const EncryptionKeysShape = Type.Object(
  {
    state: Type.Enum(['idle', 'running'], {
      description: '`running`: what older keys have encrypted is being encrypted anew, in the background.',
    }),
    active_key_id: KeyId,
    next_key_id: NullableText(
      'What a rotation makes active; null when the configured key is active already, or a rotation makes one.',
      null,
    ),
    makes_key: Type.Boolean({
      description: 'A rotation makes a key by itself, for the key is in a file beside the database.',
    }),
    keys: Type.Array(
      Type.Object({
        key_id: KeyId,
        active: Type.Boolean(),
        values: Type.Integer({
          minimum: 0,
          description: 'How many values it has encrypted.',
          examples: [12],
        }),
      }),
      { description: 'Every key that is needed: the active one first.' },
    ),
    remaining: Type.Integer({
      minimum: 0,
      description: 'How many values are still encrypted with another key than the active one.',
      examples: [0],
    }),
  },
  { title: 'EncryptionKeys' },
);

function statusShape({
  state,
  activeId,
  olderIds,
  nextId,
  makesKey,
  values,
  remaining,
}: RotationStatus): Static<typeof EncryptionKeysShape> {
  const ids = [...new Set([activeId, ...olderIds, ...Object.keys(values)])];
  return {
    state,
    active_key_id: activeId,
    next_key_id: nextId,
    makes_key: makesKey,
    keys: ids.map((id) => ({ key_id: id, active: id === activeId, values: values[id] ?? 0 })),
    remaining,
  };
}

export function encryptionKeyRoutes({ keyRotation }: ApiDeps): ApiRoute[] {
  return [
    route({
      method: 'GET',
      path: '/encryption_keys',
      access: 'operator',
      operationId: 'getEncryptionKeys',
      tag: 'Encryption keys',
      summary: 'Show with which keys secrets are encrypted at rest',
      data: EncryptionKeysShape,
      handle: async () => statusShape(await keyRotation.status()),
    }),
    route({
      method: 'POST',
      path: '/encryption_keys/rotate',
      access: 'operator',
      operationId: 'rotateEncryptionKey',
      tag: 'Encryption keys',
      summary: 'Encrypt all secrets with a new key',
      description:
        'Makes the configured key the active one, or where the key is in a file a new one, and encrypts everything anew in the background while the service goes on. Refused while a node that is alive doesn’t know the key. Called again it changes nothing.',
      data: EncryptionKeysShape,
      errors: ['conflict'],
      handle: async ({ by }) => statusShape(await keyRotation.rotate(by)),
    }),
  ];
}
