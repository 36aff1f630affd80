/**
 * What people write, kept as a JSON string: PostgreSQL's text can't hold U+0000, and a half of a surrogate pair would
 * come back as another character.
 */
export function encodeText(text: string): string {
  return JSON.stringify(text);
}

export function decodeText(json: string): string {
  return JSON.parse(json) as string;
}
