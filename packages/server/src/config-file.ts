/** The YAML of a configuration file, down to the texts of its settings. */
import { createRequire } from 'node:module';
import type * as Yaml from 'yaml';

export interface FileSetting {
  name: string;
  /** As a person would write it on the command line: empty for null, null for a mapping, which no setting is. */
  text: string | null;
}

/**
 * The settings in the order of the file, or what is wrong with it, to be put after the file's name.
 *
 * @example
 * readConfigFile('timeout: 5s'); // [{ name: 'timeout', text: '5s' }]
 * readConfigFile('timeout: [5s'); // ', line 1, column 13: that is not YAML'
 */
export function readConfigFile(source: string): FileSetting[] | string {
  // Loaded for those who have such a file: it takes a twentieth of a start.
  const yaml = createRequire(import.meta.url)('yaml') as typeof Yaml;
  const { isAlias, isMap, isScalar } = yaml;
  const lines = new yaml.LineCounter();
  // The parser's own messages quote the source, which may hold secrets: only their place is used.
  const document = yaml.parseDocument(source, { lineCounter: lines, prettyErrors: false });
  const syntaxError = document.errors[0];
  if (syntaxError !== undefined) {
    const { line, col } = lines.linePos(syntaxError.pos[0]);
    const what = syntaxError.code === 'DUPLICATE_KEY' ? 'a name stands there twice' : 'that is not YAML';
    return `, line ${line}, column ${col}: ${what}`;
  }
  const root = document.contents;
  if (root === null || (isScalar(root) && root.value === null)) return [];
  if (!isMap(root)) return ' must hold lines of the form "name: value", such as "timeout: 5s"';
  return root.items.map(({ key, value }) => ({
    name: isScalar(key) ? String(key.value) : '?',
    text: scalarText(yaml, isAlias(value) ? value.resolve(document) : value),
  }));
}

function scalarText(yaml: typeof Yaml, node: unknown): string | null {
  if (yaml.isScalar(node)) {
    // The source keeps what a number loses: 0010, 1e3.
    return node.value === null
      ? ''
      : String(typeof node.value === 'string' ? node.value : (node.source ?? node.value)).trim();
  }
  if (!yaml.isSeq(node)) return node === null ? '' : null;
  const items = node.items.map((item) => (yaml.isScalar(item) ? scalarText(yaml, item) : null));
  return items.includes(null) ? null : items.join(',');
}
