require('./index.cjs').run('finish');
