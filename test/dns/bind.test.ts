import { providerSuite } from './provider-suite.ts';
import { bind } from './servers.ts';

providerSuite('BIND', bind);
