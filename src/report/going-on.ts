import { nextStage, type State } from '../engine/states.ts';

/** A stage that failed or was refused. */
export interface Stopped extends State {
  readonly stage: string;
  readonly pass: string;
  /** The stage to begin with, where it is not the same again. */
  readonly from?: string | undefined;
}

/** What to do next after a failure, as lines of Markdown: from where to dispatch, and the ways out. */
export function goingOn(stopped: Stopped): readonly string[] {
  const again = stopped.stage === 'transfer' ? `transfer-${stopped.pass}` : stopped.stage;
  const from = stopped.from?.replace(' ', '-') ?? again;
  return [...dispatch(stopped.stage, from), ...wayOut(stopped)];
}

function dispatch(stage: string, from: string): readonly string[] {
  if (from === 'none') return [];
  if (stage === 'rollback') return [`Cure it, then dispatch **Roll back** again. ${notAgain}`];
  return [`Cure it, then dispatch **Migrate** with \`from: ${from}\`. ${notAgain}`];
}

const notAgain =
  '*Re-run jobs* takes the old commit and inputs. Where the run that failed still holds the lock, wait 90 seconds or set `force-unlock`.';

/** What happens meanwhile, and how to get out. */
function wayOut(state: Stopped): readonly string[] {
  switch (state.phase) {
    case 'untouched':
    case 'rolled-back':
    case 'finished':
      return [];
    case 'prepared':
    case 'copied':
      return ['OLD serves meanwhile: there is no hurry.'];
    case 'frozen':
    case 'transferred':
      return [
        '**OLD is frozen.** It thaws by itself when its limit has passed; to have it serve at once, dispatch **Roll back**, or on OLD run `hostctl thaw`.',
      ];
    case 'active':
    case 'drained':
      return [
        `NEW has the mailboxes; what is left is ${nextStage(state)}. The way back is **Roll back**, which brings new mail along.`,
      ];
  }
}
