import {
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLParseError,
} from 'yaml';

/** Where a fault is: keys of mappings and indexes of lists, from the top of the file. */
export type Path = readonly (string | number)[];

/** One thing that is wrong in a file. */
export interface Fault {
  readonly path: Path;
  readonly message: string;
  /** Where in the text a fault of the YAML itself is, which has no path. */
  readonly offset?: number;
}

/** A parsed YAML file that knows on which line each of its values stands. */
export interface Source {
  /** What the file says, as plain values; undefined when the YAML itself is at fault. */
  readonly value: unknown;
  /** Faults of the YAML itself. */
  readonly faults: readonly Fault[];
  /** `line:column`, both from 1, of a fault; of the nearest enclosing value if there is none. */
  position(fault: Fault): string;
}

/** YAML 1.2; keys given twice, several documents and runs of aliases that explode are faults. */
export function parseSource(text: string): Source {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    version: '1.2',
    uniqueKeys: true,
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
  });
  const faults: Fault[] = telling(document.errors).map((error) => ({
    path: [],
    message: yamlMessage(error.code, error.message),
    offset: error.pos[0],
  }));
  let value: unknown;
  if (faults.length === 0) {
    try {
      value = document.toJS({ maxAliasCount: 100 });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      faults.push({ path: [], message: `not accepted as YAML: ${firstLine(reason)}`, offset: 0 });
    }
  }
  const resolve = (node: unknown) => (isAlias(node) ? node.resolve(document) : node);
  return {
    value,
    faults,
    position(fault) {
      const offset = fault.offset ?? offsetOf(document.contents, fault.path, resolve);
      const { line, col } = lines.linePos(offset);
      return `${Math.max(line, 1)}:${Math.max(col, 1)}`;
    },
  };
}

/** Errors of syntax drag others behind them, so only the first of those is told. */
function telling(errors: readonly YAMLParseError[]): YAMLParseError[] {
  const own = errors.filter((error) => error.code === 'DUPLICATE_KEY');
  const syntax = errors.find((error) => error.code !== 'DUPLICATE_KEY');
  return syntax === undefined ? own : [...own, syntax];
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? text;
}

function yamlMessage(code: string, message: string): string {
  if (code === 'DUPLICATE_KEY') return 'this key stands twice in the same mapping; remove one';
  if (code === 'MULTIPLE_DOCS') return 'a second document ("---") begins here; use one file each';
  return `not valid YAML: ${firstLine(message)}`;
}

/** Offset of the value at `path`, or of the deepest value on the way to it that exists. */
function offsetOf(
  root: Node | null | undefined,
  path: Path,
  resolve: (node: unknown) => unknown,
): number {
  let offset = root?.range?.[0] ?? 0;
  let node: unknown = root;
  for (const key of path) {
    const inside = resolve(node);
    if (isMap(inside)) {
      const pair = inside.items.find(
        (item) => isPair(item) && isScalar(item.key) && item.key.value === key,
      );
      if (!pair) break;
      offset = startOf(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(inside)) {
      node = inside.items[Number(key)];
      if (node === undefined) break;
      offset = startOf(node) ?? offset;
    } else break;
  }
  return offset;
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}
