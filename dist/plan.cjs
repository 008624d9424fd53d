require('./index.cjs').run('plan');
