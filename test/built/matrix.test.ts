import { expect, it } from 'vitest';
import { actionFolder } from '../../src/actions/metadata.ts';
import { ActRepository, act } from '../e2e/act.ts';

/*
 * What the jobs of the workflows hand to each other, under act: with actions that only say what they
 * were given. With the real ones, and real hosts, test/e2e/act.test.ts does it.
 */

const plan = JSON.stringify({ text: 'ä "q" $(id) `id` \'' });

/** A composite action that runs a line of shell, with its inputs as variables. */
function action(run: string, inputs: readonly string[], outputs: readonly string[] = []): object {
  const variable = (name: string) => name.toUpperCase().replaceAll('-', '_');
  return {
    name: 'says what it was given',
    description: 'For tests.',
    inputs: Object.fromEntries(inputs.map((name) => [name, { default: '' }])),
    outputs: Object.fromEntries(
      outputs.map((name) => [name, { value: `\${{ steps.it.outputs.${name} }}` }]),
    ),
    runs: {
      using: 'composite',
      steps: [
        {
          id: 'it',
          shell: 'bash',
          env: Object.fromEntries(inputs.map((name) => [variable(name), `\${{ inputs.${name} }}`])),
          run,
        },
      ],
    },
  };
}

const planned = `echo "planned for '$SHARDS'"
echo 'shards=["1/2","2/2"]' >> "$GITHUB_OUTPUT"
cat >> "$GITHUB_OUTPUT" <<'END'
plan<<END_OF_PLAN
${plan}
END_OF_PLAN
END`;
const said = 'echo "begin $PASS $SHARD $APPROVED_PLAN"; sleep 0.5; echo "end $PASS $SHARD"';
const actions = {
  [actionFolder('plan')]: action(planned, ['shards'], ['shards', 'plan']),
  ...Object.fromEntries(
    (['prepare', 'transfer'] as const).map((stage) => [
      actionFolder(stage),
      action(said, ['pass', 'shard', 'approved-plan']),
    ]),
  ),
};

/** What the actions said, in their order. */
function words(log: string): readonly string[] {
  return [...log.matchAll(/ \| ((?:planned|begin|end) .*)$/gm)].map((line) =>
    (line[1] ?? '').trim(),
  );
}

it.skipIf(act === undefined)(
  'a live pass goes in the parts that plan says, one after the other',
  async () => {
    const user = await ActRepository.withActions(actions);
    try {
      const inputs = { until: 'transfer-live', shards: '2', 'require-approval': 'off' };
      const whole = await user.dispatch({ inputs });
      expect(whole.succeeded).toEqual(['plan', 'prepare', 'transfer-live-1', 'transfer-live-2']);
      expect(words(whole.log)).toEqual([
        "planned for '2'",
        `begin   ${plan}`,
        'end',
        `begin live 1/2 ${plan}`,
        'end live 1/2',
        `begin live 2/2 ${plan}`,
        'end live 2/2',
      ]);
      const later = await user.dispatch({ inputs: { ...inputs, from: 'transfer-live' } });
      expect(words(later.log)).toEqual(['begin live 1/1', 'end live 1/1']);
      const nightly = await user.dispatch({ workflow: 'live-passes.yml' });
      expect(words(nightly.log)).toEqual([
        "planned for ''",
        'begin live 1/2',
        'end live 1/2',
        'begin live 2/2',
        'end live 2/2',
      ]);
      const single = await user.dispatch({ workflow: 'live-passes.yml', inputs: { shards: '1' } });
      expect(words(single.log)).toEqual(['begin live 1/1', 'end live 1/1']);
    } finally {
      await user.remove();
    }
  },
);
