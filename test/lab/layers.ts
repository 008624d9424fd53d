import { chatmailLayer } from './chatmail/layer.ts';
import { type ExtraLayer, ensureExtraLayer, qmailLayer } from './extra-layer.ts';
import { ensureBase } from './image.ts';

/** Layers over the base image, by the mail system that needs them. */
const layers: Readonly<Record<string, ExtraLayer>> = {
  chatmail: chatmailLayer,
  qmail: qmailLayer,
};

/**
 * Takes `--layer NAME` off the front of a command line and builds those layers; `all` is every one. A
 * mail system that needs none has none. `trixie` is no layer but the tree of a NEW with a later Debian.
 */
export async function ensureLayers(
  words: readonly string[],
  say: (line: string) => void,
): Promise<readonly string[]> {
  const [flag, name = '', ...rest] = words;
  if (flag !== '--layer') return words;
  const wanted = name === 'all' ? Object.values(layers) : [layers[name]];
  for (const layer of wanted) if (layer) await ensureExtraLayer(layer, say);
  if (name === 'all' || name === 'trixie') await ensureBase(say, 'trixie');
  return ensureLayers(rest, say);
}
