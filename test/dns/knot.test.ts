import { providerSuite } from './provider-suite.ts';
import { knot } from './servers.ts';

providerSuite('Knot', knot);
