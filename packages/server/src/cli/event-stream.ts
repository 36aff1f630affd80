/** Server-sent events as they arrive. */

export interface StreamMessage {
  event: string;
  data: string;
  /** The last id of the stream up to here; null before the first. */
  id: string | null;
}

/** More than the largest event that a server may be set to take (16 MiB, escaped), and no reason to hold more. */
const LONGEST_LINE_CHARACTERS = 64 * 1024 * 1024;

/**
 * Reads a stream of server-sent events. Comments are given as messages named `comment`, because each is a sign of life.
 *
 * @throws when the stream does, and when a line is longer than any server's should be
 */
export async function* readMessages(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<StreamMessage> {
  const decoder = new TextDecoder();
  let pieces: string[] = [];
  let length = 0;
  let message: { event: string; data: string[] } = { event: 'message', data: [] };
  let id: string | null = null;
  for await (const chunk of bytes) {
    const lines = decoder.decode(chunk, { stream: true }).split('\n');
    for (const [i, part] of lines.entries()) {
      pieces.push(part);
      length += part.length;
      if (length > LONGEST_LINE_CHARACTERS) throw new Error('a line of the event stream does not end');
      if (i === lines.length - 1) break;
      const line = pieces.join('').replace(/\r$/, '');
      pieces = [];
      length = 0;
      if (line === '') {
        if (message.data.length > 0) yield { event: message.event, data: message.data.join('\n'), id };
        message = { event: 'message', data: [] };
        continue;
      }
      const [, field = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (field === '') yield { event: 'comment', data: value, id };
      else if (field === 'event') message.event = value;
      else if (field === 'data') message.data.push(value);
      else if (field === 'id') id = value;
    }
  }
}
