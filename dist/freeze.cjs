require('./index.cjs').run('freeze');
